"""The figures of the report: each is tables first (one file a question), and ink second (`ink`)."""
