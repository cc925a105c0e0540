"""``doorway serve``."""

from gateway.commands.unbuilt import unbuilt

serve = unbuilt("serve", "The gateway.")
