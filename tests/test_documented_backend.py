"""The backend that the documentation shows in full keeps to the contract."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.contract import BackendContract

PAGE = Path(__file__).parents[1] / "docs" / "backend-author.md"


class TestDocumentedBackend(BackendContract):
    stores: ClassVar[dict[Path, Backend]] = {}

    def open_store(self, place: Path) -> Backend:
        if place not in self.stores:
            names: dict[str, Any] = {}
            exec(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0], names)
            self.stores[place] = names["DictionaryBackend"]()
        return self.stores[place]
