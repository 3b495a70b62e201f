"""From a detector and images to detections in source pixels. Knows detections, not models."""
