"""Machine that states losses, and whose parts are called as no other machine's."""

ODD = """architecture:
  name: odd
  technology: scaled-5nm
  clock: 1 GHz
  word: 16 bit
  measured:
    launch: {value: 1 us, source: a clock}
    sustained: {far: {value: 0.25, source: a clock}, lanes: {value: 0.5, source: a clock}}
  memories:
    - {name: far, bandwidth: 10 GB/s, line: 64 bit, energy: dram_hbm3}
    - {name: near, capacity: 64 KiB, line: 64 bit, energy: sram}
  arrays:
    - {name: lanes, shape: {a: 7, b: 5}, registers: {depth: 16}, operations: {extends: vector}}
"""
