# Nodes of one cluster on hosts that somebody else made. No provider: terraform_data is part of Terraform itself.
#
# Making a node starts its server and joins it; destroying one empties it, checks its removal certificate and only then
# stops its server. Both may be cut off and run again.
terraform {
  required_version = ">= 1.4"
}

locals {
  names = sort([for name in keys(var.hosts) : name if !contains(var.retired, name)])
  used  = slice(local.names, 0, min(var.node_count, length(local.names)))
  nodes = { for name in local.used : name => merge(var.hosts[name], { node = "${var.hosts[name].address}:${var.hosts[name].port}" }) }
}

resource "terraform_data" "node" {
  for_each = local.nodes

  # What node.sh finds set. Destroying knows nothing but this.
  input = {
    DROVER_SCRIPT     = abspath("${path.module}/node.sh")
    DROVER            = var.drover
    DROVER_API        = var.api
    DROVER_CLUSTER    = var.cluster
    DROVER_NODE       = each.value.node
    DROVER_HOST       = each.value.address
    DROVER_PORT       = tostring(each.value.port)
    DROVER_ZONE       = each.value.zone
    DROVER_MEMBERSHIP = var.membership
    DROVER_PUBLIC_KEY = var.certificate_public_key == "" ? "" : abspath(var.certificate_public_key)
    DROVER_WAIT_S     = tostring(var.wait_s)
    DROVER_REMEMBER   = abspath("${path.root}/.drover-node-${each.key}")
    START_COMMAND     = var.start_command
    STOP_COMMAND      = var.stop_command
  }
  triggers_replace = [each.value.node]

  lifecycle {
    precondition {
      condition     = var.node_count <= length(local.names)
      error_message = "${var.node_count} nodes are wanted, and there are ${length(local.names)} hosts that are not retired."
    }
  }

  provisioner "local-exec" {
    command     = "\"$DROVER_SCRIPT\" join"
    environment = self.input
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "\"$DROVER_SCRIPT\" leave"
    environment = self.input
  }
}
