"""One trial shown on its way from the files to the windows that networks see."""
