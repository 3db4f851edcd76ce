"""The pages for browsers: the console, and the API's documentation."""
