# The pattern being replaced, as usually run: nginx in the background of bash, a sleep, a kill, and
# Nomad's template with SIGHUP.  Run by tests/e2e/test_replaced.py for comparison.

variable "image" {
  type = string
}

variable "replica_image" {
  type = string
}

variable "replica_command" {
  type = string
}

variable "replica_args" {
  type = list(string)
}

variable "port" {
  type = number
}

variable "seconds" {
  type = number
}

# Must be 0: otherwise Nomad reschedules the failed allocation with a full duration.
variable "attempts" {
  type    = number
  default = 0
}

job "old" {
  type        = "batch"
  datacenters = ["*"]

  group "replicas" {
    count = 2

    reschedule {
      attempts       = var.attempts
      interval       = "24h"
      delay          = "5s"
      delay_function = "constant"
      unlimited      = false
    }

    network {
      port "http" {
        to = 5000
      }
    }

    service {
      provider = "nomad"
      name     = "old-replica"
      port     = "http"
    }

    task "replica" {
      driver = "docker"

      config {
        image      = var.replica_image
        ports      = ["http"]
        entrypoint = ["timeout", "--preserve-status", "${var.seconds}s"]
        command    = var.replica_command
        args       = var.replica_args
      }

      restart {
        attempts = 0
        mode     = "fail"
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }

  group "balancer" {
    reschedule {
      attempts  = 0
      unlimited = false
    }

    network {
      port "http" {
        static = var.port
      }
    }

    task "nginx" {
      driver = "docker"
      user   = "root"

      config {
        image      = var.image
        ports      = ["http"]
        entrypoint = ["/bin/sh", "-c"] # like the shell form of CMD
        command    = "/bin/bash -c \"nginx -g 'daemon off;' & sleep ${var.seconds} && kill -9 0\""
        volumes    = ["local:/etc/nginx/conf.d"]
      }

      template {
        destination   = "local/load-balancer.conf"
        change_mode   = "signal"
        change_signal = "SIGHUP"

        data = <<-EOT
          upstream backend {
          {{ range nomadService "old-replica" }}
            server {{ .Address }}:{{ .Port }};
          {{ else }}server 127.0.0.1:65535; # force a 502
          {{ end }}
          }

          server {
            listen ${var.port};
            location / {
              proxy_pass http://backend;
            }
          }
        EOT
      }

      restart {
        attempts = 0
        mode     = "fail"
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
