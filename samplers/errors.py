"""What a user can mend."""


class UserError(ValueError):
    """Says what was wrong, what is accepted and what to do, in one line for the user; everything else is a bug."""
