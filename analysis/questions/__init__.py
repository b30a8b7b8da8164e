"""What a study is asked, a question a file; answers.py asks them all."""
