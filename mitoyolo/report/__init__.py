"""Reports: one HTML file each, opened without a server, pictures inside."""
