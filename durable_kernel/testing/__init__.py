"""testing: public doubles and crash points, for our tests and for those of others."""
