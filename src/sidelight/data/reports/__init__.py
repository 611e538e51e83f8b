"""Report text -> sections -> sentences."""
