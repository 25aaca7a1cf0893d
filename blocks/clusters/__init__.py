"""What manages the database cluster of a site."""
