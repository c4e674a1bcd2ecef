"""What the meta-architectures of all papers share: the base class, the head, the loss table, the host's trunk."""
