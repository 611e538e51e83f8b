"""Items -> the numbers that a head reads beside, or in place of, the image."""
