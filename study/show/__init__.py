"""What a study leaves and shows while it runs: tables, TensorBoard, Optuna, progress."""
