"""Hold a bill of materials against the schema of CycloneDX: `python validate.py FILE`, where `cyclonedx-bom` is."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(Path(sys.argv[1]).read_text("utf-8")):
    sys.exit(f"{sys.argv[1]}: {wrong}")
