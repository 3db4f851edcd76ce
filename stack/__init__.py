"""What runs on one machine: jars, Java, the embedded broker, the layers as processes."""
