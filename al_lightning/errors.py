"""The one exception that means "the user can mend this": the command line prints it as a single line, without a traceback."""


class UserError(Exception):
    """Wrong input: the message says what was expected, what came, and what to do."""
