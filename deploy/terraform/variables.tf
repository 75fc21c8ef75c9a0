variable "node_count" {
  description = "How many primaries there shall be. drover writes it into drover.auto.tfvars.json when it wants more or fewer."
  type        = number

  validation {
    condition     = var.node_count >= 3 && var.node_count <= 500 && floor(var.node_count) == var.node_count
    error_message = "A cluster has 3 to 500 primaries."
  }
}

variable "hosts" {
  description = "Hosts for nodes, by name; the first node_count of them, by name, are used. Made by whatever provider you use."
  type = map(object({
    address = string
    port    = optional(number, 6379)
    zone    = optional(string, "")
  }))

  validation {
    condition     = length(distinct([for h in values(var.hosts) : "${h.address}:${h.port}"])) == length(var.hosts)
    error_message = "Two hosts have the same address and port."
  }
}

variable "api" {
  description = "Addresses of the coordinators' API, parted by commas."
  type        = string
}

variable "drover" {
  description = "The drover command."
  type        = string
  default     = "drover"
}

variable "start_command" {
  description = "Run when a host gets its node, before it joins; finds DROVER_NODE, DROVER_HOST, DROVER_PORT and DROVER_ZONE set. Must be safe to repeat."
  type        = string
  default     = "true"
}

variable "stop_command" {
  description = "Run when a host loses its node, once its removal certificate has been seen. Must be safe to repeat."
  type        = string
  default     = "true"
}

variable "wait_s" {
  description = "Seconds that a join or a removal may take."
  type        = number
  default     = 3600
}

variable "cluster" {
  description = "Name of the cluster; a removal certificate must be of it. \"\" = of any."
  type        = string
  default     = ""
}

variable "certificate_public_key" {
  description = "PEM file with the public half of the coordinators' certificate-key-file. A server is only stopped by a certificate that is signed with it; \"\" = signatures are not looked at."
  type        = string
  default     = ""
}

variable "retired" {
  description = "Names of hosts that get no node, so that a certain node can be taken out: retire its host and count one less."
  type        = set(string)
  default     = []
}

variable "membership" {
  description = "Who joins and empties nodes: \"terraform\", or \"drover\" when drover itself runs Terraform to get servers; then servers are only started, and stopped once their certificate is there."
  type        = string
  default     = "terraform"

  validation {
    condition     = contains(["terraform", "drover"], var.membership)
    error_message = "It is \"terraform\" or \"drover\"."
  }
}
