"""Units of physics in ours (CODATA 2018)."""

BOHR = 0.529177210903  # angstrom
HARTREE = 27.211386245988  # eV
DEBYE = 2.541746473  # debye in one elementary charge times one bohr
