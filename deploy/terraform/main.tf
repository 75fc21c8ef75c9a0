# Nodes of one cluster on hosts that somebody else made. No provider: terraform_data is part of Terraform itself.
#
# Making a node starts its server and joins it; destroying one empties it, waits for the removal certificate and only then
# stops its server. Both may be cut off and run again.
terraform {
  required_version = ">= 1.4"
}

locals {
  names = slice(sort(keys(var.hosts)), 0, min(var.node_count, length(var.hosts)))
  nodes = { for name in local.names : name => merge(var.hosts[name], { node = "${var.hosts[name].address}:${var.hosts[name].port}" }) }
}

resource "terraform_data" "node" {
  for_each = local.nodes

  # Destroying knows nothing but this.
  input = {
    node          = each.value.node
    address       = each.value.address
    port          = each.value.port
    zone          = each.value.zone
    api           = var.api
    drover        = var.drover
    start_command = var.start_command
    stop_command  = var.stop_command
    wait          = var.wait
    script        = abspath("${path.module}/node.sh")
  }
  triggers_replace = [each.value.node]

  lifecycle {
    precondition {
      condition     = var.node_count <= length(var.hosts)
      error_message = "${var.node_count} nodes are wanted, and there are ${length(var.hosts)} hosts."
    }
  }

  provisioner "local-exec" {
    command = "\"$DROVER_SCRIPT\" join"
    environment = {
      DROVER_SCRIPT = self.input.script
      DROVER        = self.input.drover
      DROVER_API    = self.input.api
      DROVER_NODE   = self.input.node
      DROVER_HOST   = self.input.address
      DROVER_PORT   = self.input.port
      DROVER_ZONE   = self.input.zone
      START_COMMAND = self.input.start_command
    }
  }

  provisioner "local-exec" {
    when    = destroy
    command = "\"$DROVER_SCRIPT\" leave"
    environment = {
      DROVER_SCRIPT = self.input.script
      DROVER        = self.input.drover
      DROVER_API    = self.input.api
      DROVER_NODE   = self.input.node
      DROVER_HOST   = self.input.address
      DROVER_PORT   = self.input.port
      DROVER_ZONE   = self.input.zone
      DROVER_WAIT   = self.input.wait
      STOP_COMMAND  = self.input.stop_command
    }
  }
}
