"""Demo data: tiles that look like H&E tissue, with true mitoses, drawn from a seed."""

from mitoyolo.demo.job import demo
from mitoyolo.demo.write import APERIO_MPP, DEMO_MPP, write_demo

__all__ = ["APERIO_MPP", "DEMO_MPP", "demo", "write_demo"]
