"""The demo: a model that learns from real data while one watches."""
