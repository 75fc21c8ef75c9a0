# Offline: what the module plans. `terraform test` in this folder.
variables {
  api        = "http://127.0.0.1:1"
  node_count = 3
  hosts = {
    r1 = { address = "10.0.0.1" }
    r2 = { address = "10.0.0.2", port = 7000, zone = "b" }
    r3 = { address = "10.0.0.3" }
    r4 = { address = "10.0.0.4" }
  }
}

run "the_first_hosts_by_name" {
  command = plan

  assert {
    condition     = join(",", keys(terraform_data.node)) == "r1,r2,r3"
    error_message = "other hosts than the first three are used"
  }
  assert {
    condition     = output.nodes["r2"] == "10.0.0.2:7000"
    error_message = "the node's address is wrong"
  }
  assert {
    condition     = output.ansible_inventory.all.children.agents.hosts["r2"].drover_zone == "b"
    error_message = "the inventory lacks the zone"
  }
}

run "one_more" {
  command = plan
  variables {
    node_count = 4
  }
  assert {
    condition     = length(terraform_data.node) == 4
    error_message = "four nodes are wanted"
  }
}

# A certain node leaves: its host is retired and one less is wanted. The others stay whatever their names are.
run "one_is_retired" {
  command = plan
  variables {
    retired = ["r2"]
  }
  assert {
    condition     = join(",", keys(terraform_data.node)) == "r1,r3,r4"
    error_message = "a retired host has a node, or another is left out"
  }
}

run "too_few_that_are_not_retired" {
  command = plan
  variables {
    retired = ["r1", "r2"]
  }
  expect_failures = [terraform_data.node]
}

run "nobody_else_joins_nodes" {
  command = plan
  variables {
    membership = "ansible"
  }
  expect_failures = [var.membership]
}

run "too_few_nodes" {
  command = plan
  variables {
    node_count = 2
  }
  expect_failures = [var.node_count]
}

run "more_than_hosts" {
  command = plan
  variables {
    node_count = 5
  }
  expect_failures = [terraform_data.node]
}

run "one_address_twice" {
  command = plan
  variables {
    hosts = {
      r1 = { address = "10.0.0.1" }
      r2 = { address = "10.0.0.1" }
      r3 = { address = "10.0.0.3" }
    }
  }
  expect_failures = [var.hosts]
}
