"""The entry for arrays and tables of your own."""
