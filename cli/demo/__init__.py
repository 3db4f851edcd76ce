"""The demo: a recommender that learns from real ratings while one watches."""
