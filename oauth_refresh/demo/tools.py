"""The demo's notes as tools for MCP clients: the same notebook, and whose notes it is the token says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from ..mcp import McpApplication, caller
from .notes import NOTE_CHARACTERS_MAX, Notebook

if TYPE_CHECKING:
    from ..settings import Settings


def create_tools(notebook: Notebook, settings: Settings) -> McpApplication:
    """The MCP server over `notebook`, at `/mcp`, for the issuer and the web origins of `settings`."""
    server = MCPServer("Notes", instructions="The notes of the user who signed in.", log_level="WARNING")

    @server.tool()
    def list_notes(context: Context) -> list[str]:
        """All notes of the user, oldest first."""
        return [note["text"] for note in notebook.of(caller(context).subject)]

    @server.tool()
    def add_note(text: str, context: Context) -> str:
        """Add a note for the user."""
        kept = text.strip()
        if not kept or len(kept) > NOTE_CHARACTERS_MAX:
            raise ToolError(f"a note has 1 to {NOTE_CHARACTERS_MAX} characters")
        notebook.add(caller(context).subject, kept)
        return f"Noted: {kept}"

    @server.tool()
    def who_am_i(context: Context) -> dict[str, Any]:
        """Who the access token of this request speaks for."""
        token = caller(context)
        return {"subject": token.subject, "client_id": token.client_id, "scopes": sorted(token.scopes)}

    return McpApplication(server, issuer=settings.issuer, cors_origins=settings.cors_origins)
