# User data for hosts that become nodes: cloud-init installs the server and drover's agent, writes their settings, and
# starts the agent. The node itself is started by the parent module's start_command, once the host is there.
# Knows no provider; the host finds its own address out when it boots.
terraform {
  required_version = ">= 1.4"
}

locals {
  user_data = {
    for name, host in var.hosts : name => templatefile("${path.module}/cloud-init.yaml.tftpl", {
      name                   = name
      zone                   = host.zone
      port                   = host.port
      cluster                = var.cluster
      coordinators           = var.coordinators
      flavor                 = var.flavor
      maxmemory              = var.maxmemory
      server_settings        = var.server_settings
      certificate_public_key = var.certificate_public_key
      install                = var.install
    })
  }
}

output "user_data" {
  description = "cloud-init user data by host name."
  value       = local.user_data
}
