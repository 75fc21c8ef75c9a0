variable "hosts" {
  description = "Hosts to be made, by name."
  type = map(object({
    port = optional(number, 6379)
    zone = optional(string, "")
  }))
}

variable "cluster" {
  description = "Name of the cluster, as the coordinators have it."
  type        = string
}

variable "coordinators" {
  description = "Where the coordinators listen for agents, e.g. tls+tcp://10.0.0.2:7400."
  type        = list(string)

  validation {
    condition     = length(var.coordinators) > 0 && alltrue([for url in var.coordinators : can(regex("^(tls\\+)?tcp://", url))])
    error_message = "At least one tcp:// or tls+tcp:// address is needed."
  }
}

variable "flavor" {
  description = "redis or valkey."
  type        = string
  default     = "redis"

  validation {
    condition     = contains(["redis", "valkey"], var.flavor)
    error_message = "It is redis or valkey."
  }
}

variable "maxmemory" {
  description = "The node's maxmemory, e.g. 4gb."
  type        = string
}

variable "server_settings" {
  description = "Further lines of the node's conf, e.g. {maxmemory-policy = \"allkeys-lru\"}."
  type        = map(string)
  default     = {}
}

variable "certificate_public_key" {
  description = "PEM text of the key that removal certificates are checked with; \"\" = none."
  type        = string
  default     = ""
}

variable "install" {
  description = "Commands that install drover on the host, one each, run before the agent is started."
  type        = list(string)
}
