"""What all tests have in common: how property tests run."""

from hypothesis import settings

# A busy machine is no finding.
settings.register_profile("vestibule", deadline=None, print_blob=True)
settings.load_profile("vestibule")
