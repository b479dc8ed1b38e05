"""What a browser, a health check and Prometheus can ask: read-only, and never a private key."""
