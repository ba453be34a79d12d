"""The one error for data on disk."""


class DataError(ValueError):
    """A file of a data set is missing, damaged or contradicts another file.

    The message names the file, what was expected there and what to do.
    """
