"""What all tests share: none of them hangs."""

from __future__ import annotations

pytest_plugins = ["tests.hanging"]
