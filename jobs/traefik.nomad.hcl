# Replicas and their balancer behind Traefik, until a shared deadline.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim \
#       -var deadline=$(date -ud '+24 hours' +%FT%TZ) -var host=model.example.org \
#       jobs/traefik.nomad.hcl
#
# Set: the two images, the replica's command and port, `host`, Traefik's networks, and the job's name
# if you run two.
#
# Traefik discovers one server, the balancer, through the balancer's own service and its tags.  It does
# not discover the replicas, so its 15 s delay does not apply to them.  Its provider is Nomad's
# registry, or Consul's with `-var provider=consul`.  Nomad chooses the balancer's port.
#
# Traefik queries Nomad every 15 s.  Two settings below inform it in time: a health check on
# `/-/ready`, which returns 503 for the last seconds before the deadline, while requests still work;
# and a `shutdown_delay` longer than those 15 s, for a job that is stopped by hand.
#
# Policy: none for the job; a workload identity may read services, and follow the job's deadline.  With
# ACLs on, `autoexit-nginx extend` moves it only with extend.policy.hcl.  Traefik's own token needs
# `read-job` in the job's namespace, which must be set in Traefik (`providers.nomad.namespaces`).
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

variable "host" {
  description = "public host name for Traefik's rule"
  type        = string
  default     = "replica.localhost"
}

variable "provider" {
  description = "registry that Traefik uses: nomad or consul"
  type        = string
  default     = "nomad"
}

variable "trusted_proxies" {
  description = "networks of Traefik, whose forwarded client headers are trusted"
  type        = string
  default     = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
}


locals {
  exec = {
    image     = ["python3", "-I", "/alloc/autoexit.pyz", "--"]
    installed = ["autoexit-nginx", "exec", "--"]
    artifact  = ["python3", "-I", "/local/autoexit.pyz", "--"]
  }
  from = contains(keys(local.exec), var.exec_from) ? var.exec_from : "artifact"
}

job "traefik" {
  type        = "batch"
  namespace   = var.namespace
  datacenters = var.datacenters

  group "replicas" {
    count = var.count

    # Nomad deregisters an instance, then stops it after this delay.  The balancer needs 2.5 s of it
    # after a scale-down, and 24 s when the job is stopped: its own shutdown_delay and STOP_TIMEOUT.
    # Set more than both, and more than your longest request.
    shutdown_delay = "25s"

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

    # Longer than Traefik's interval: when the signal arrives, Traefik no longer sends requests here.
    shutdown_delay = "20s"

    network {
      port "http" {} # NOMAD_PORT_http, the balancer's default port
    }

    service {
      provider = var.provider
      name     = "${var.service}-balancer"
      port     = "http"
      tags = [
        "traefik.enable=true",
        "traefik.http.routers.${var.service}.rule=Host(`${var.host}`)",
        "traefik.http.services.${var.service}.loadbalancer.healthcheck.path=/-/ready",
        "traefik.http.services.${var.service}.loadbalancer.healthcheck.interval=2s",
        "traefik.http.services.${var.service}.loadbalancer.healthcheck.timeout=1s",
      ]
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

        LAME_DUCK       = "5s" # two of Traefik's check intervals
        TRUSTED_PROXIES = var.trusted_proxies

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
