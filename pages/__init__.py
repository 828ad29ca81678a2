"""The archive as a page in a browser: a server for it, whom it lets in, and the page."""
