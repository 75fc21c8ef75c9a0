# Offline: what hosts are told when they boot. `terraform test` in this folder.
variables {
  cluster      = "shop"
  coordinators = ["tls+tcp://10.0.0.2:7400", "tls+tcp://10.0.0.3:7400"]
  maxmemory    = "4gb"
  install      = ["apt-get install -y /root/drover.deb", "echo \"done: yes\""]
  hosts = {
    r1 = {}
    r2 = { port = 7000, zone = "b" }
  }
}

run "one_for_each_host" {
  command = plan

  assert {
    condition     = join(",", keys(output.user_data)) == "r1,r2"
    error_message = "a host lacks its user data"
  }
  assert {
    condition     = startswith(output.user_data["r1"], "#cloud-config\n")
    error_message = "cloud-init knows its text by the first line"
  }
}

run "settings_are_yaml_that_says_the_same" {
  command = plan

  assert {
    condition     = yamldecode(yamldecode(output.user_data["r2"]).write_files[0].content) == { id = "r2", cluster = "shop", coordinators = ["tls+tcp://10.0.0.2:7400", "tls+tcp://10.0.0.3:7400"], state-dir = "/var/lib/drover/agent", zone = "b" }
    error_message = "the agent's settings are wrong"
  }
  assert {
    condition     = contains(split("\n", yamldecode(output.user_data["r2"]).write_files[1].content), "cluster-announce-bus-port 17000")
    error_message = "the node's conf is wrong"
  }
  assert {
    condition     = contains(yamldecode(output.user_data["r1"]).runcmd, "echo \"done: yes\"")
    error_message = "a command of the installation is lost or changed"
  }
}

run "valkey_and_a_key" {
  command = plan
  variables {
    flavor                 = "valkey"
    certificate_public_key = "-----BEGIN PUBLIC KEY-----\nMCo=\n-----END PUBLIC KEY-----\n"
  }
  assert {
    condition     = contains(yamldecode(output.user_data["r1"]).packages, "valkey-server")
    error_message = "the other server is installed"
  }
  assert {
    condition     = yamldecode(output.user_data["r1"]).write_files[1].content == var.certificate_public_key
    error_message = "the key is changed on its way"
  }
}

run "no_coordinator" {
  command = plan
  variables {
    coordinators = []
  }
  expect_failures = [var.coordinators]
}

run "coordinator_without_bus" {
  command = plan
  variables {
    coordinators = ["https://10.0.0.2"]
  }
  expect_failures = [var.coordinators]
}
