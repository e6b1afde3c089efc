<?php
return array(
    'leptir' => array(
        'brokers' => array(
            array(
                'type' => 'redis',
                'connection' => array('scheme' => 'tcp', 'host' => 'queue.example.org', 'port' => 6380, 'database' => 2, 'key' => 'shop:tasks'),
                'configuration' => array('priority' => 0, 'task_count_caching_time' => 0.6),
            ),
            array('type' => 'redis'),
            array(
                'type' => 'mongodb',
                'connection' => array('collection' => 'tasksp1', 'options' => array('connect' => true, 'secondaryPreferred' => true)),
                'configuration' => array('priority' => 1),
            ),
            array(
                'type' => 'sqs',
                'connection' => array('sqs_key' => 'AKIA', 'sqs_secret' => 'hush', 'sqs_queue' => 'https://sqs.eu-central-1.amazonaws.com/123456789012/tasks'),
                'configuration' => array('priority' => 2),
            ),
            array('type' => 'doctrine'),
        ),
        'loggers' => array(
            'logfile' => array('type' => 'file', 'options' => array('path' => '/var/log/leptir.log')),
            'stdoutlog' => array('type' => 'stdout'),
        ),
        'daemon' => array(
            'configuration' => array(
                'task_execution_time' => 600,
                'number_of_workers' => 8,
                'empty_queue_sleep_time' => 0.5,
                'workers_active_sleep_time' => 0.2,
                'pid_path' => '/run/leptir.pid',
            ),
        ),
        'meta_storage' => array(
            array(
                'type' => 'redis',
                'connection' => array('host' => 'queue.example.org', 'key' => 'shop:info'),
                'configuration' => array('expire_after_seconds' => 86400),
            ),
            array('type' => 'mongodb', 'connection' => array('host' => 'mongo.example.org')),
        ),
        'error_reporting' => array(array('class' => 'Application\ErrorReporting\ErrorReporting')),
        'further' => array('key' => 5),
    ),
);
