output "nodes" {
  description = "Nodes by host name."
  value       = { for name, node in local.nodes : name => node.node }
}

output "ansible_inventory" {
  description = "The same as an Ansible inventory for deploy/ansible: terraform output -json ansible_inventory."
  value = {
    all = {
      children = {
        agents = { hosts = { for name, node in local.nodes : name => { drover_host = node.address, drover_zone = node.zone } } }
        redis  = { hosts = { for name, node in local.nodes : name => { drover_redis_port = node.port } } }
      }
    }
  }
}
