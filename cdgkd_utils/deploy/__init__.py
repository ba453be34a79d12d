"""Using a finished student: what-if questions, clips of one's own, and an export that stands alone."""
