"""The one error for what a user hands to a finished student."""


class DeployError(ValueError):
    """A clip or an exported student cannot be used.

    The message names the file, what was expected and what to do.
    """
