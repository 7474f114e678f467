# Scalable replicas on any nodes, and one address for them, until a shared deadline.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim \
#       -var deadline=$(date -ud '+24 hours' +%FT%TZ) \
#       jobs/load-balancer-multi-group.nomad.hcl
#
#     nomad job scale load-balancer replicas 6     loses no request, up or down
#
# Set: the two images, the replica's command and port, and the job's name if you run two.
#
# At the deadline every allocation is `complete`.  Each task exits by itself with code 0: the balancer,
# and each replica with `autoexit-nginx exec` as its PID 1.  The deadline is a point in time, so an
# allocation that Nomad places later, after a crash or on another node, exits with the others.  Use
# `ttl` alone only for tests: it counts from each allocation's own start.
#
# Policy: none.  A workload identity may read services, and follow the job's deadline.  With ACLs on,
# `autoexit-nginx extend` moves it for all tasks only with extend.policy.hcl; anyone with the right may
# type `nomad var put -force nomad/jobs/JOB deadline=2027-01-31T18:00:00Z`.
#
# Type batch: only there exit code 0 means "done".  It needs no `restart { attempts = 0 }`, and `failed`
# always means a failure.  See docs/nomad.md, also for Nomad's `max_run_duration` (2.0.3 and newer),
# which stops replicas whose image has no Python.  This file is for Nomad 1.5 and newer.

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

job "load-balancer" {
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
      provider = "nomad"
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
        SERVICE_NAME  = var.service
        SERVICE_JOB   = "self" # ignore instances that other jobs register under this name
        TTL           = var.ttl
        DEADLINE      = var.deadline # overrides TTL
        DRAIN_TIMEOUT = var.drain_timeout
        STOP_TIMEOUT  = "4s" # time limit of a stop, less than kill_timeout
        HEALTH_PATH   = var.health_path

        # For applications with sessions, such as Gradio, one of these (docs/traffic.md):
        # STICKY    = "cookie"  # nginx 1.29.6 or newer; clients that keep cookies
        # LB_METHOD = "ip_hash" # any nginx; by client address
      }

      kill_timeout = "5s"

      # The workload identity token: with it the balancer discovers the replicas through the Task
      # API's socket in its secrets directory.  No policy is needed, even with ACLs enabled.
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
}
