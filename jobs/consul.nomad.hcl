# Replicas that register in Consul, and one address for them, until a shared deadline: for clusters
# that use Consul for services, such as AI4EOSC's.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim \
#       -var deadline=$(date -ud '+24 hours' +%FT%TZ) \
#       jobs/consul.nomad.hcl
#
# Set: the two images, the replica's command and port, a unique `service` (Consul does not separate
# the instances of two jobs), and the job's name if you run two.
#
# The balancer never contacts Consul.  Nomad's `template` writes the instances to a file, and the
# balancer checks that file every 0.2 s and reloads nginx only if the endpoints have changed.
# `change_mode = "noop"`, because a signal is not needed and would arrive later, after Nomad's
# `splay` of up to 5 s.  SIGHUP also works: then the file is read at once.
#
# Nomad gives up on a template after 12 failed attempts, about five minutes without Consul, and kills
# the task as failed.  To prevent that, set in the agents' configuration:
# `client { template { consul_retry { attempts = 0 } } }`.
#
# Policy: none in Nomad.  The balancer and the replicas have an identity only to follow the job's
# deadline; with ACLs on, `autoexit-nginx extend` moves it only with extend.policy.hcl.  With Consul
# ACLs, tasks need the same as your cluster's other templates: `service_prefix "" { policy = "read" }`
# and the same for nodes, from the agents' token or, from Nomad 1.7, from Consul workload identities.
#
# For replicas, `exec`, batch and versions see load-balancer-multi-group.nomad.hcl.

variable "image" {
  description = "image of the balancer, for example autoexit-nginx:0.1.0; a `latest` tag is pulled every time"
  type        = string
}

variable "replica_image" {
  description = "image of the replicas; `exec` requires only python3 in it"
  type        = string
}

variable "replica_command" {
  description = "command of a replica; the default is a file server, as an example"
  type        = string
  default     = "python3"
}

variable "replica_args" {
  description = "arguments of the replica command"
  type        = list(string)
  default     = ["-m", "http.server", "5000"]
}

variable "replica_port" {
  description = "port on which a replica listens inside its container"
  type        = number
  default     = 5000
}

variable "health_path" {
  description = "path to which a ready replica responds with 200; if empty, accepting connections is enough"
  type        = string
  default     = ""
}

variable "count" {
  description = "initial number of replicas"
  type        = number
  default     = 2
}

variable "ttl" {
  description = "lifetime of each allocation if no deadline is set: 90s, 1h30m, 7d"
  type        = string
  default     = "24h"
}

variable "deadline" {
  description = "deadline of the whole job, RFC 3339: 2027-01-31T18:00:00Z"
  type        = string
  default     = ""
}

variable "service" {
  description = "service name that the replicas register and the balancer discovers"
  type        = string
  default     = "replica"
}

variable "port" {
  description = "public port of the balancer, the same on every node"
  type        = number
  default     = 8080
}

variable "namespace" {
  description = "Nomad namespace of the job and the service"
  type        = string
  default     = "default"
}

variable "datacenters" {
  description = "datacenters in which the job may run"
  type        = list(string)
  default     = ["*"]
}

variable "drain_timeout" {
  description = "how long open requests may take after the deadline; the replicas serve that much longer"
  type        = string
  default     = "30s"
}

variable "exec_from" {
  description = "source of `exec`: `image` (the balancer's), `installed` (in the replica's), or an artifact URL"
  type        = string
  default     = "image"
}

locals {
  exec = {
    image     = ["python3", "-I", "/alloc/autoexit.pyz", "--"]
    installed = ["autoexit-nginx", "exec", "--"]
    artifact  = ["python3", "-I", "/local/autoexit.pyz", "--"]
  }
  from = contains(keys(local.exec), var.exec_from) ? var.exec_from : "artifact"
}

job "consul" {
  type        = "batch"
  namespace   = var.namespace
  datacenters = var.datacenters

  group "replicas" {
    count = var.count

    # Nomad deregisters an instance, then stops it after this delay.  The balancer needs 2.5 s of it
    # after a scale-down: to reload, and to close the connections of its old workers.  It needs 4 s,
    # its STOP_TIMEOUT, to drain when the job is stopped.  Set more than both, and more than your
    # longest request.
    shutdown_delay = "5s"

    # Restart a replica that crashes, but let one that always crashes fail visibly.
    restart {
      attempts = 5
      interval = "30m"
      delay    = "2s"
      mode     = "fail"
    }

    reschedule {
      attempts       = 10
      interval       = "24h"
      delay          = "10s"
      delay_function = "constant"
      unlimited      = false
    }

    network {
      port "http" {
        to = var.replica_port
      }
    }

    service {
      provider = "consul"
      name     = var.service
      port     = "http"
    }

    # Copies `exec`, one file, from the balancer's image, so that no replica image has to be rebuilt.
    dynamic "task" {
      for_each = local.from == "image" ? ["exec"] : []
      labels   = [task.value]

      content {
        driver = "docker"

        lifecycle {
          hook = "prestart"
        }

        config {
          image   = var.image
          command = "cp"
          args    = ["/opt/autoexit-nginx/autoexit.pyz", "/alloc/"]
        }

        resources {
          cpu    = 50
          memory = 64
        }
      }
    }

    task "replica" {
      driver = "docker"

      config {
        image      = var.replica_image
        ports      = ["http"]
        entrypoint = local.exec[local.from] # PID 1: stops the replica at the deadline and exits with 0
        command    = var.replica_command
        args       = var.replica_args
      }

      dynamic "artifact" {
        for_each = local.from == "artifact" ? [var.exec_from] : []

        content {
          source      = artifact.value
          destination = "local/autoexit.pyz"
          mode        = "file"
        }
      }

      env {
        TTL          = var.ttl
        DEADLINE     = var.deadline      # overrides TTL
        LINGER       = var.drain_timeout # the replica serves until the balancer's drain is over
        STOP_TIMEOUT = "4s"              # from SIGTERM to SIGKILL, less than kill_timeout
      }

      kill_timeout = "5s"

      # With its identity token `exec` follows the job's deadline, which `autoexit-nginx extend` moves.
      identity {
        env  = true
        file = true
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }

  group "balancer" {
    # The supervisor restarts nginx.  If the supervisor itself exits, Nomad restarts it in a second,
    # with the same deadline.
    restart {
      attempts = 5
      interval = "10m"
      delay    = "1s"
      mode     = "fail"
    }

    reschedule {
      attempts       = 10
      interval       = "24h"
      delay          = "5s"
      delay_function = "constant"
      unlimited      = false
    }

    network {
      port "http" {
        static = var.port # NOMAD_PORT_http, the balancer's default port
      }
    }

    task "nginx" {
      driver = "docker"

      config {
        image           = var.image
        ports           = ["http"]
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        readonly_rootfs = true
      }

      env {
        ENDPOINTS_FILE = "${NOMAD_TASK_DIR}/endpoints"
        TTL            = var.ttl
        DEADLINE       = var.deadline # overrides TTL
        DRAIN_TIMEOUT  = var.drain_timeout
        STOP_TIMEOUT   = "4s" # time limit of a stop, less than kill_timeout
        HEALTH_PATH    = var.health_path

        # For applications with sessions, such as Gradio, one of these (docs/traffic.md):
        # STICKY    = "cookie"  # nginx 1.29.6 or newer; clients that keep cookies
        # LB_METHOD = "ip_hash" # any nginx; by client address
      }

      kill_timeout = "5s"

      # With its identity token the balancer follows the job's deadline, which `autoexit-nginx extend` moves.
      identity {
        env  = true
        file = true
      }

      template {
        destination = "local/endpoints"
        change_mode = "noop"

        # One line per instance; an empty file is valid and means no endpoints.
        data = <<-EOT
          {{ range service "${var.service}" }}
          {{ .Address }}:{{ .Port }}
          {{ end }}
        EOT

        # Nomad waits 5 s for further changes by default, as long as this job's shutdown_delay: a
        # replica that is scaled down would be gone when the balancer learns of it, and its requests
        # would get 502.  The balancer merges bursts itself.
        wait {
          min = "100ms"
          max = "1s"
        }
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
