"""From a results directory, or a table from elsewhere, to cells of trials."""
