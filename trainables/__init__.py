"""What one trial is: data, network, step, training loop and its measurements."""
