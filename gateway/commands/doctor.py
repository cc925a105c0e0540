"""``doorway doctor``."""

from gateway.commands.unbuilt import unbuilt

doctor = unbuilt("doctor", "Checks of the installation.")
