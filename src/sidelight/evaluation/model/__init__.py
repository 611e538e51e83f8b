"""What an evaluation leaves for the next patient: encoder and head -> a folder, and back."""
