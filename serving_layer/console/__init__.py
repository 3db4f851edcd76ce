"""Pages for browsers: the console and the API's documentation; `operations` adds them."""
