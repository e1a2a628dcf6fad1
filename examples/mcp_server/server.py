"""An MCP server whose tools know who called, behind OAuth, on any WSGI server."""

from __future__ import annotations

import os

from mcp.server.mcpserver import Context, MCPServer

from oauth_refresh import OAuthMiddleware
from oauth_refresh.mcp import McpApplication, caller

BOOKS = {
    "ada": ["Notes on the Analytical Engine"],
    "grace": ["A Manual of Operation", "The Education of a Computer"],
}

server = MCPServer("Library", instructions="The books that the user has borrowed.", log_level="WARNING")


@server.tool()
def borrowed_books(context: Context) -> list[str]:
    """The books that the user has at home."""
    return BOOKS.get(caller(context).subject, [])


@server.tool()
def who_am_i(context: Context) -> str:
    """The user in whose name this client calls."""
    return caller(context).subject


application = OAuthMiddleware(
    # The public URL, which the middleware reads from the environment by itself.
    McpApplication(server, issuer=os.environ.get("OAUTH_ISSUER")),
    protect={"/mcp": "books:read"},
    scopes={"books:read": "See which books you have borrowed"},
    users_file="users.txt",
    service_name="The library",
)
