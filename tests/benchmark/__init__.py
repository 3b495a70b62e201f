"""Tests of the benchmark; a package, so that file names may repeat in other rooms."""
