"""log.jsonl, the only state of a study, and the records that it folds to."""
