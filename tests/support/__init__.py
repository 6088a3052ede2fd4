"""What tests of several parts share; test modules import it as `support`."""
